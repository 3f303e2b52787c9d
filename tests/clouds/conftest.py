from tests.aws.servers import aws_credentials, ministack
from tests.azure.servers import azure, no_azure_of_our_own
from tests.gcp.servers import gcp, no_google_of_our_own

__all__ = ["aws_credentials", "azure", "gcp", "ministack", "no_azure_of_our_own", "no_google_of_our_own"]
