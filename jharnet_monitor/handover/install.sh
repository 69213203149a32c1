#!/bin/sh
# Installs hub or agent from this bundle, without the Internet. As root:
#
#   sh install.sh hub   --fingerprint XXXX-XXXX-...
#   sh install.sh agent --fingerprint XXXX-XXXX-... --enrolment potka.enrolment
#   sh install.sh check --fingerprint XXXX-XXXX-...       # only checks the bundle
#
# The fingerprint was printed when the bundle was made. Get it from the engineer, not from this
# stick. Nothing is installed unless the key, the signature and every file are correct. But whoever
# can change a file of the stick can change this one: first run the commands of the help's page
# "Install a district", which check this file before anything of the stick runs.
set -eu
umask 022 # the services run as users of their own, and must be able to read what is installed

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
wrong_usage() { printf 'error: %s\n' "$*" >&2; exit 2; }

role=${1:-}
[ $# -gt 0 ] && shift
fingerprint='' enrolment=''
while [ $# -gt 0 ]; do
  case $1 in
    --fingerprint) fingerprint=${2:-}; shift 2 || wrong_usage "--fingerprint needs a value" ;;
    --enrolment) enrolment=${2:-}; shift 2 || wrong_usage "--enrolment needs a file" ;;
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
odd=$(find . ! -type d ! -type f | tr '\n' ' ')
[ -z "$odd" ] || fail "the bundle holds links or devices, which nobody signed: $odd"
extra=$(find . -type f | sed 's|^\./||' | grep -v -x -e SHA256SUMS -e SHA256SUMS.sig |
  while IFS= read -r file; do
    cut -c 67- SHA256SUMS | grep -q -x -F -e "$file" || printf '%s ' "$file"
  done)
[ -z "$extra" ] || fail "the bundle holds files that nobody signed: $extra"
say "the bundle is whole and signed"
[ "$role" = check ] && exit 0

# --- the software

[ "$(id -u)" = 0 ] || fail "run this as root"
# One program serves one role: the agent's lacks what the hub needs.
other=hub unit=jharnet-monitor.service
[ "$role" = agent ] || { other=agent; unit=jharnet-agent.service; }
[ ! -e "/etc/systemd/system/$unit" ] ||
  fail "this machine has the $other: install the $role on another one, or run sh uninstall.sh first"
# Its program and its unit would stay beside these.
[ ! -e /usr/lib/jharnet-monitor ] ||
  fail "this machine has Debian's package of jharnet-monitor: install the newer package instead," \
    "or remove it first (apt remove jharnet-monitor-hub jharnet-monitor-agent)"
python=$(command -v python3) || fail "python3 is missing; install Python 3.11 or newer first"
# -I: no Python code is imported from this directory.
"$python" -I -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null ||
  fail "python3 must be 3.11 or newer, with its package venv (Debian: python3-venv)"
into=/opt/jharnet-monitor new=/opt/jharnet-monitor.new old=/opt/jharnet-monitor.old
# A power cut between the two renames below left only the old program.
[ -e "$into" ] || [ ! -e "$old" ] || mv "$old" "$into"
rm -rf "$new"
"$python" -I -m venv "$new"
"$new/bin/python" -I -m pip --isolated install --quiet --disable-pip-version-check --no-index \
  --find-links "$PWD/wheels" --require-hashes --only-binary :all: -r "lock/$role.txt" || {
  rm -rf "$new"
  fail "the wheels of this bundle do not fit $("$python" --version) on $(uname -m)"
}
command=agent
[ "$role" = agent ] || command=run
"$new/bin/jharnet-monitor" "$command" --help > /dev/null || {
  rm -rf "$new"
  fail "the new program does not start; what was installed before has not changed"
}
# The scripts of a virtual environment hold its path.
grep -rlIF "$new" "$new/bin" "$new/pyvenv.cfg" | xargs -r sed -i "s|$new|$into|g"
sync
rm -rf "$old"
[ ! -e "$into" ] || mv "$into" "$old"
mv "$new" "$into"
rm -rf "$old"

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
  install -d -m 700 /var/lib/jharnet-agent
  # With these wheels an update over JharNet fetches only the ones that changed. Without the link
  # `current`, this version replaces all updates. The agent's user owns the directory and could put
  # links there, so root opens the wheels, and then continues as that user.
  "$python" -I -c '
import json, os, shutil, sys
here = "%d.%d" % sys.version_info[:2]
names = json.load(open("release.json"))["pythons"].get(here, ())
wheels = {name: open("wheels/" + name, "rb") for name in names}
os.chdir("/var/lib/jharnet-agent/")
owner = os.stat(".")
os.setgroups([])
os.setgid(owner.st_gid)
os.setuid(owner.st_uid)
os.umask(0o077)
try:
    for place in ("spool-updates", "spool-updates/wheels"):
        if os.path.islink(place):
            sys.exit(f"error: /var/lib/jharnet-agent/{place} is a link: delete it, and try again")
        os.makedirs(place, exist_ok=True)
    if os.path.lexists("spool-updates/current"):
        os.unlink("spool-updates/current")
    for name, wheel in wheels.items():
        part = f"spool-updates/wheels/.{name}"
        with open(part, "wb") as out:
            shutil.copyfileobj(wheel, out)
        os.replace(part, f"spool-updates/wheels/{name}")
except OSError as error:
    sys.exit(f"error: /var/lib/jharnet-agent/{error.filename}: {error.strerror}")'
fi
install -D -m 644 "systemd/$unit" "/etc/systemd/system/$unit"
install -D -m 755 uninstall.sh "$into/share/jharnet-monitor/uninstall.sh"
ln -sf "$into/bin/jharnet-monitor" /usr/local/bin/jharnet-monitor
running=''
if [ -d /run/systemd/system ]; then running=yes; systemctl daemon-reload; fi

# Restarts the service if it runs, or is about to be started again after a failure.
restart_if_running() {
  [ -n "$running" ] || return 1
  case $(systemctl is-active "$unit") in
    active | activating | reloading) systemctl restart "$unit" ;;
    *) return 1 ;;
  esac
}

if [ "$role" = agent ] && [ -n "$enrolment" ]; then
  # On a stick with FAT, every file can be read by others, which the agent does not accept.
  private=$(mktemp)
  trap 'rm -f "$private"' EXIT
  cat "$enrolment" > "$private"
  "$into/bin/jharnet-monitor" agent --enrolment "$private" --into /etc/jharnet-agent --no-run
  if [ -n "$running" ]; then
    systemctl enable --quiet "$unit"
    systemctl restart "$unit" # also an agent that runs already, with another enrolment
  fi
  say "the agent is installed and enrolled"
elif restart_if_running; then
  say "installed; $unit was restarted, and runs this version"
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
  jharnet-monitor check-config && systemctl enable --now $unit
Publish before you enrol: an office gets the key for its updates when it enrols."
fi
