from tests.gcp.servers import gcp, no_google_of_our_own

__all__ = ["gcp", "no_google_of_our_own"]
