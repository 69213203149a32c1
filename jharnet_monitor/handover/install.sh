#!/bin/sh
# Installs hub or agent from this bundle, without the Internet. As root:
#
#   sh install.sh hub   --fingerprint XXXX-XXXX-...
#   sh install.sh agent --fingerprint XXXX-XXXX-... --enrolment potka.enrolment
#   sh install.sh check --fingerprint XXXX-XXXX-...       # only checks the bundle
#
# The fingerprint was printed when the bundle was made. Get it from the engineer, not from this
# stick. Nothing is installed unless the key, the signature and every file are correct.
set -eu

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
wrong_usage() { printf 'error: %s\n' "$*" >&2; exit 2; }

role=${1:-}
[ $# -gt 0 ] && shift
fingerprint='' enrolment='' into=/opt/jharnet-monitor
while [ $# -gt 0 ]; do
  case $1 in
    --fingerprint) fingerprint=${2:-}; shift 2 || wrong_usage "--fingerprint needs a value" ;;
    --enrolment) enrolment=${2:-}; shift 2 || wrong_usage "--enrolment needs a file" ;;
    --into) into=${2:-}; shift 2 || wrong_usage "--into needs a directory" ;;
    *) wrong_usage "unknown option $1; see the head of this file" ;;
  esac
done
case $role in hub | agent | check) ;; *) wrong_usage "say hub, agent or check" ;; esac
[ -n "$fingerprint" ] || wrong_usage "--fingerprint is missing: the engineer who made the bundle has it"
if [ -n "$enrolment" ]; then
  [ -r "$enrolment" ] || fail "$enrolment: there is no such file"
  enrolment=$(readlink -f "$enrolment")
fi
cd "$(dirname "$0")"

# --- check the bundle

for tool in openssl sha256sum; do
  command -v $tool > /dev/null || fail "$tool is missing; install it first"
done
for file in bundle.pub SHA256SUMS SHA256SUMS.sig; do
  [ -f $file ] || fail "the bundle is incomplete: $file is missing"
done
wanted=$(printf %s "$fingerprint" | tr -d ' -' | tr A-F a-f)
[ "$(sha256sum bundle.pub | cut -d ' ' -f 1)" = "$wanted" ] ||
  fail "the bundle was signed with another key than the fingerprint names; do not use it"
openssl pkeyutl -verify -rawin -pubin -inkey bundle.pub -sigfile SHA256SUMS.sig -in SHA256SUMS \
  > /dev/null 2>&1 || fail "the signature is wrong; do not use this bundle"
sha256sum --check --strict --quiet SHA256SUMS ||
  fail "files of the bundle were changed; do not use it"
extra=$(find . -type f | sed 's|^\./||' | grep -v -x -e SHA256SUMS -e SHA256SUMS.sig |
  while IFS= read -r file; do
    cut -c 67- SHA256SUMS | grep -q -x -F -e "$file" || printf '%s ' "$file"
  done)
[ -z "$extra" ] || fail "the bundle holds files that nobody signed: $extra"
say "the bundle is whole and signed"
[ "$role" = check ] && exit 0

# --- the software

[ "$(id -u)" = 0 ] || fail "run this as root"
python=$(command -v python3) || fail "python3 is missing; install Python 3.11 or newer first"
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null ||
  fail "python3 must be 3.11 or newer, with its package venv (Debian: python3-venv)"
new=$into.new
rm -rf "$new"
"$python" -m venv "$new"
"$new/bin/pip" --isolated install --quiet --disable-pip-version-check --no-index --find-links "$PWD/wheels" \
  --require-hashes --only-binary :all: -r "lock/$role.txt" || { rm -rf "$new"; fail "the wheels of
this bundle do not fit $("$python" --version) on $(uname -m)"; }
rm -rf "$into.old"
[ ! -e "$into" ] || mv "$into" "$into.old"
mv "$new" "$into"
# The scripts of a virtual environment hold its path.
grep -rlIF "$new" "$into/bin" "$into/pyvenv.cfg" | xargs -r sed -i "s|$new|$into|g"
"$into/bin/jharnet-monitor" agent --help > /dev/null || fail "the installed program does not start"
rm -rf "$into.old"

# --- the machine

install -D -m 644 systemd/jharnet-ping.conf /etc/sysctl.d/jharnet-ping.conf
sysctl -q -p /etc/sysctl.d/jharnet-ping.conf 2> /dev/null || true
if [ "$role" = hub ]; then
  install -D -m 644 systemd/jharnet.sysusers.conf /etc/sysusers.d/jharnet.conf
  if command -v systemd-sysusers > /dev/null; then systemd-sysusers; else
    id jharnet > /dev/null 2>&1 ||
      useradd --system --home-dir /var/lib/jharnet-monitor --shell /usr/sbin/nologin jharnet
  fi
  install -d -o jharnet -g jharnet -m 700 /var/lib/jharnet-monitor
  [ -e /var/lib/jharnet-monitor/jharnet.yaml ] ||
    install -o jharnet -g jharnet -m 640 config/jharnet.yaml /var/lib/jharnet-monitor/
  unit=jharnet-monitor.service
else
  install -d -m 755 /etc/jharnet-agent
  unit=jharnet-agent.service
  # With these wheels an update over JharNet fetches only the ones that changed.
  updates=/var/lib/jharnet-agent/spool-updates
  install -d -m 700 /var/lib/jharnet-agent "$updates" "$updates/wheels"
  "$python" -c 'import json, sys
here = "%d.%d" % sys.version_info[:2]
print(*json.load(open("release.json"))["pythons"].get(here, ()), sep="\n")' |
    while IFS= read -r wheel; do
      [ -z "$wheel" ] || install -m 600 "wheels/$wheel" "$updates/wheels/"
    done
  chown -R --reference=/var/lib/jharnet-agent/ "$updates"
fi
install -D -m 644 "systemd/$unit" "/etc/systemd/system/$unit"
install -D -m 755 uninstall.sh "$into/share/jharnet-monitor/uninstall.sh"
ln -sf "$into/bin/jharnet-monitor" /usr/local/bin/jharnet-monitor
running=''
if [ -d /run/systemd/system ]; then running=yes; systemctl daemon-reload; fi

if [ "$role" = agent ] && [ -n "$enrolment" ]; then
  # On a stick with FAT, every file can be read by others, which the agent does not accept.
  private=$(mktemp)
  trap 'rm -f "$private"' EXIT
  cat "$enrolment" > "$private"
  "$into/bin/jharnet-monitor" agent --enrolment "$private" --into /etc/jharnet-agent --no-run
  [ -z "$running" ] || systemctl enable --now "$unit"
  say "the agent is installed and enrolled"
elif [ "$role" = agent ]; then
  say "installed. Next: jharnet-monitor agent --enrolment FILE --into /etc/jharnet-agent --no-run"
  say "      and then: systemctl enable --now $unit"
else
  say "installed. Next: edit /var/lib/jharnet-monitor/jharnet.yaml, then
  export JHARNET_CONFIG=/var/lib/jharnet-monitor/jharnet.yaml
  jharnet-monitor tls init /var/lib/jharnet-monitor/tls --ip ADDRESS
  jharnet-monitor token --api
  jharnet-monitor update publish BUNDLE.zip --fingerprint $fingerprint
  jharnet-monitor enrol --all --hub https://ADDRESS:9797
  jharnet-monitor check-config && systemctl enable --now $unit"
fi
