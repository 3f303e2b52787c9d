from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_values import named

NAMES = {"CreateDBInstance", "ModifyDBInstance", "RestoreDBInstanceFromDBSnapshot"}


def rule(event):
    if event.get("eventName") not in NAMES or not succeeded(event):
        return False
    return asked(event, "publiclyAccessible") is True


def _database(event):
    return named(asked(event, "dBInstanceIdentifier"))


def title(event):
    return f"{actor(event)} gave database {_database(event)} of account {account(event)} a public address"


def dedup(event):
    return f"{account(event)}:{_database(event)}"


def alert_context(event):
    return context(event, "requestParameters")
