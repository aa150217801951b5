# Mail to those who administer the billing account. It stops nothing.

variable "billing_account" { type = string }
variable "project_number" { type = string }
variable "name" { type = string }
variable "amount" { type = number }

resource "google_billing_budget" "this" {
  billing_account = var.billing_account
  display_name    = var.name
  budget_filter {
    projects = ["projects/${var.project_number}"]
  }
  amount {
    specified_amount {
      units = tostring(var.amount)
    }
  }
  threshold_rules {
    threshold_percent = 0.5
  }
  threshold_rules {
    threshold_percent = 0.9
  }
  threshold_rules {
    threshold_percent = 1.0
  }
  # Early enough to do something about it.
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }
}
