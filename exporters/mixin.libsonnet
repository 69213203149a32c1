// The rules and dashboards as a monitoring mixin (https://monitoring.mixins.dev), for those who
// manage Prometheus with jsonnet:
//
//   jsonnet -S -e 'std.manifestYamlDoc((import "mixin.libsonnet").prometheusAlerts)' > alerts.yml
//   jsonnet -S -e 'std.manifestYamlDoc((import "mixin.libsonnet").prometheusRules)' > rules.yml
//   jsonnet -m dashboards -e '(import "mixin.libsonnet").grafanaDashboards'
//
// `mixin/` is written from prometheus/rules/ by grafana/source/build.py, as jsonnet cannot read YAML
// with anchors.
{
  _config+:: {
    // Which targets are hubs, in the rules that ask for `up`.
    jharnetSelector: 'job="jharnet-monitor"',
    // Labels that every alert gets besides its own, such as {cluster: "ranchi"}.
    alertLabels: {},
  },

  local config = self._config,
  local selected(rule) = rule {
    expr: std.strReplace(super.expr, 'job="jharnet-monitor"', config.jharnetSelector),
  },
  local labelled(rule) = rule { labels+: config.alertLabels },
  local mapped(change, groups) = [
    group { rules: std.map(change, group.rules) }
    for group in groups
  ],

  prometheusAlerts+:: {
    groups+: mapped(function(rule) labelled(selected(rule)), (import 'mixin/alerts.json').groups),
  },

  prometheusRules+:: {
    groups+: mapped(selected, (import 'mixin/recording.json').groups),
  },

  grafanaDashboards+:: {
    'conference.json': import 'grafana/dashboards/conference.json',
    'district.json': import 'grafana/dashboards/district.json',
    'management.json': import 'grafana/dashboards/management.json',
    'monitor.json': import 'grafana/dashboards/monitor.json',
    'office.json': import 'grafana/dashboards/office.json',
    'speed.json': import 'grafana/dashboards/speed.json',
    'state.json': import 'grafana/dashboards/state.json',
  },
}
