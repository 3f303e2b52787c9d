from tests.azure.servers import azure, no_azure_of_our_own

__all__ = ["azure", "no_azure_of_our_own"]
