#!/bin/sh
# Removes hub and agent from this machine. As root: sh uninstall.sh [--purge]
# With --purge, configuration, secrets, database, reports and waiting results go as well.
set -eu
[ "$(id -u)" = 0 ] || { echo 'error: run this as root' >&2; exit 1; }
case ${1:-} in '' | --purge) ;; *) echo 'error: the only option is --purge' >&2; exit 2 ;; esac
for unit in jharnet-monitor.service jharnet-agent.service; do
  if [ -d /run/systemd/system ]; then systemctl disable --now --quiet $unit 2> /dev/null || true; fi
  rm -f "/etc/systemd/system/$unit"
done
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
rm -f /etc/sysctl.d/jharnet-ping.conf /etc/sysusers.d/jharnet.conf /usr/local/bin/jharnet-monitor
if [ "${1:-}" = --purge ]; then
  rm -rf /var/lib/jharnet-monitor /etc/jharnet-agent /var/lib/jharnet-agent \
    /var/lib/private/jharnet-agent
  if id jharnet > /dev/null 2>&1; then userdel jharnet; fi
fi
rm -rf /opt/jharnet-monitor /opt/jharnet-monitor.old /opt/jharnet-monitor.new
echo removed
