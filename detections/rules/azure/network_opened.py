from ingestd_azure import caller, carried_out, management_context, operation, request, resource
from ingestd_network import EVERYWHERE, exposed_by_text
from ingestd_values import document, mappings, texts

WRITES = {
    "MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/WRITE",
    "MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/SECURITYRULES/WRITE",
}


def rule(event):
    if operation(event) not in WRITES or not carried_out(event):
        return False
    return bool(_opened(event))


def _opened(event):
    """What is open to the internet by the rules that were written, by name."""
    body = document(request(event).get("properties"))
    found = []
    for one in [body, *(document(each.get("properties")) for each in mappings(body.get("securityRules")))]:
        if _lets_everyone_in(one):
            ranges = [*texts(one.get("destinationPortRange")), *texts(one.get("destinationPortRanges"))]
            found += [name for ports in ranges for name in exposed_by_text(ports)]
    return list(dict.fromkeys(found))


def _lets_everyone_in(one):
    sources = [*texts(one.get("sourceAddressPrefix")), *texts(one.get("sourceAddressPrefixes"))]
    return (
        str(one.get("access")).lower() == "allow"
        and str(one.get("direction")).lower() == "inbound"
        and any(source in EVERYWHERE for source in sources)
    )


def title(event):
    return f"{caller(event)} opened {', '.join(_opened(event))} to the internet: {resource(event)}"


def dedup(event):
    return resource(event)


def alert_context(event):
    return {"opened": _opened(event), **management_context(event, "properties")}
