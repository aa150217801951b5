# A dashboard and alerts. Both are files that `gcloud monitoring` takes as they are: dashboard.json, alerts/*.json. What to do at each: docs/monitoring.md

variable "project_id" { type = string }
variable "environment" { type = string }
variable "alert_emails" { type = set(string) }
variable "daily_runs" { type = bool }

locals {
  policies = {
    for file in fileset("${path.module}/alerts", "*.json") : trimsuffix(file, ".json") => jsondecode(file("${path.module}/alerts/${file}"))
    if file != "run-missing.json" || var.daily_runs
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = var.alert_emails
  project      = var.project_id
  type         = "email"
  display_name = "Greenlight ${var.environment}: ${each.key}"
  labels       = { email_address = each.key }
}

# How many runs ended, as the step `report` says of every one.
resource "google_logging_metric" "runs" {
  project = var.project_id
  name    = "greenlight_runs"
  filter  = "resource.type=\"ml_job\" AND jsonPayload.step=\"report\" AND jsonPayload.event=\"finished\""
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_monitoring_dashboard" "this" {
  project        = var.project_id
  dashboard_json = file("${path.module}/dashboard.json")
}

resource "google_monitoring_alert_policy" "this" {
  for_each              = local.policies
  project               = var.project_id
  display_name          = each.value.displayName
  severity              = each.value.severity
  enabled               = each.value.enabled
  combiner              = each.value.combiner
  user_labels           = merge(each.value.userLabels, { environment = var.environment })
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  documentation {
    content   = each.value.documentation.content
    mime_type = each.value.documentation.mimeType
  }
  dynamic "conditions" {
    for_each = each.value.conditions
    content {
      display_name = conditions.value.displayName
      dynamic "condition_prometheus_query_language" {
        for_each = try([conditions.value.conditionPrometheusQueryLanguage], [])
        content {
          query               = condition_prometheus_query_language.value.query
          duration            = condition_prometheus_query_language.value.duration
          evaluation_interval = condition_prometheus_query_language.value.evaluationInterval
          # The metrics come with the first pod, and the policies before it.
          disable_metric_validation = true
        }
      }
      dynamic "condition_matched_log" {
        for_each = try([conditions.value.conditionMatchedLog], [])
        content {
          filter = condition_matched_log.value.filter
        }
      }
      dynamic "condition_absent" {
        for_each = try([conditions.value.conditionAbsent], [])
        content {
          filter   = condition_absent.value.filter
          duration = condition_absent.value.duration
          dynamic "aggregations" {
            for_each = condition_absent.value.aggregations
            content {
              alignment_period     = aggregations.value.alignmentPeriod
              per_series_aligner   = aggregations.value.perSeriesAligner
              cross_series_reducer = aggregations.value.crossSeriesReducer
            }
          }
        }
      }
    }
  }
  alert_strategy {
    auto_close = each.value.alertStrategy.autoClose
    dynamic "notification_rate_limit" {
      for_each = try([each.value.alertStrategy.notificationRateLimit], [])
      content {
        period = notification_rate_limit.value.period
      }
    }
  }
  depends_on = [google_logging_metric.runs]
}

output "dashboard" { value = google_monitoring_dashboard.this.id }
