"""Log types known by name alone: public rules refer to them. Their records keep every field as it comes.

Writing a schema `builtin/<name>.yml` takes a name out of here.
"""

_BY_VENDOR = {
    "AWS": "TransitGatewayFlow",
    "AlphaSOC": "Alert",
    "Amazon": "EKS.Authenticator",
    "Anomali": "Indicator",
    "Apache": "AccessCombined AccessCommon",
    "AppOmni": "Alerts",
    "Axonius": "Activity",
    "Bitwarden": "Events",
    "CarbonBlack": "AlertV2 EndpointEvent WatchlistHit",
    "CiscoUmbrella": "CloudFirewall DNS IP Proxy",
    "Cloudflare": "Audit Spectrum",
    "Crowdstrike": "AIDMaster ActivityAudit CriticalFile DNSRequest DetectionSummary GroupIdentity "
    "ManagedAssets NetworkConnect NetworkListen NotManagedAssets ProcessRollup2 ProcessRollup2Stats "
    "SyntheticProcessRollup2 Unknown UserIdentity UserLogonLogoff",
    "Docusign": "Connect",
    "GitLab": "API Production",
    "Jamfpro": "ComplianceReporter Login",
    "Juniper": "Access Audit Firewall Security",
    "Lacework": "AgentManagement Applications DNSQuery Events Interfaces InternalIPA MachineSummary PodSummary "
    "UserLogin",
    "Linux": "Auditd",
    "Microsoft365": "DLP.All",
    "MicrosoftDefenderXDR": "AdvancedHunting",
    "MicrosoftGraph": "SecurityAlert",
    "MicrosoftIntune": "AuditLogs OperationalLogs",
    "Netskope": "Audit",
    "Nginx": "Access",
    "OCSF": "AccountChange UserAccess",
    "OSSEC": "EventInfo",
    "OnePassword": "AuditEvent",
    "Orca": "Alert",
    "Panther": "Audit",
    "PushSecurity": "Activity Controls Entities",
    "SOCRadar": "Incidents",
    "Salesforce": "Login LoginAs Logout RealtimeEvent URI",
    "SentinelOne": "Activity DeepVisibility DeepVisibilityV2",
    "Slack": "AccessLogs IntegrationLogs",
    "Snowflake": "DataTransferHistory GrantsToRoles GrantsToUsers LoginHistory QueryHistory",
    "Sophos": "Central",
    "Sublime": "Audit MessageEvent",
    "Suricata": "Alert Anomaly DHCP DNS FileInfo Flow HTTP SSH TLS",
    "Sysdig": "Audit",
    "Tailscale": "Audit",
    "Tenable": "Vulnerability",
    "ThinkstCanary": "Alert",
    "Tracebit": "Alert",
    "Upwind": "Detections",
    "Windows": "EventLogs",
    "Wiz": "Detections Issues IssuesWebhook",
    "Workday": "Activity SignOnAttempt",
    "Zeek": "Conn DHCP DNS DPD HTTP NTP Notice SIP Software Ssh Ssl Tunnel Weird",
    "Zoom": "Activity",
}

PASSTHROUGH = frozenset(f"{vendor}.{kind}" for vendor, kinds in _BY_VENDOR.items() for kind in kinds.split())
