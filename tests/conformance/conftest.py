from tests.aws.servers import aws, aws_credentials, ministack, moto

__all__ = ["aws", "aws_credentials", "ministack", "moto"]
