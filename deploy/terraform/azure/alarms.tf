# What only Azure sees. What ingestd itself sees is in its own metrics and alerts.

resource "azurerm_monitor_metric_alert" "dropped" {
  count = var.system_topic_name == "" && length(var.action_group_ids) > 0 ? 1 : 0

  name                = "${var.name}-dropped"
  resource_group_name = var.resource_group_name
  scopes              = [azurerm_eventgrid_system_topic.this[0].id]
  description         = "Event Grid gave up on events of ${var.storage_account_name}: those blobs are read by a backfill alone."
  tags                = var.tags

  criteria {
    metric_namespace = "Microsoft.EventGrid/systemTopics"
    metric_name      = "DroppedEventCount"
    aggregation      = "Total"
    operator         = "GreaterThan"
    threshold        = 0
  }

  dynamic "action" {
    for_each = var.action_group_ids

    content {
      action_group_id = action.value
    }
  }
}
