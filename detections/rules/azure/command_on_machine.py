from ingestd_azure import caller, carried_out, management_context, operation, resource
from ingestd_values import last

OPERATIONS = {
    "MICROSOFT.COMPUTE/VIRTUALMACHINES/RUNCOMMAND/ACTION",
    "MICROSOFT.COMPUTE/VIRTUALMACHINES/RUNCOMMANDS/WRITE",
    "MICROSOFT.COMPUTE/VIRTUALMACHINESCALESETS/VIRTUALMACHINES/RUNCOMMAND/ACTION",
}


def rule(event):
    return operation(event) in OPERATIONS and carried_out(event)


def _machine(event):
    return last(resource(event).partition("/runcommand")[0])


def title(event):
    return f"{caller(event)} ran a command on machine {_machine(event)} through Azure"


def dedup(event):
    return f"{caller(event)}:{_machine(event)}"


def alert_context(event):
    return management_context(event)
