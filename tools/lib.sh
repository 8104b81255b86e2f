# Shared by the verbs in tools/: installs what is missing, says what it does, and is quick when nothing is.
# Sourced by bash from the checkout's top folder.

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# ensure_all [dovecot] [chromium]: everything that the verbs need. Serialised, because two verbs may start at once.
ensure_all() {
    mkdir -p var
    exec 9>var/install.lock
    flock 9
    ensure_packages "$@"
    ensure_python
    flock --unlock 9
    exec 9>&-
}

# --- packages of the distribution -----------------------------------------------------------------------------------

ensure_packages() {
    local missing=() extra
    [ -x /usr/sbin/postfix ] || missing+=(postfix)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
    venv_fits || find_python >/dev/null || missing+=(python)
    milter_fits || missing+=(milter)
    command -v gpg >/dev/null || missing+=(gnupg)
    command -v curl >/dev/null || missing+=(curl)
    for extra in "$@"; do "${extra}_fits" || missing+=("$extra"); done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null ||
        die "missing: ${missing[*]}. This is neither Debian nor Ubuntu: install Postfix, PostgreSQL's server, Python 3.11 or newer, libmilter's headers, a C compiler, miltertest, GnuPG, curl, and for the tests Dovecot with its PostgreSQL driver and Chromium, then run it again"
    [ "$(id -u)" -eq 0 ] || die "missing: ${missing[*]}. Only root can install packages: run it as root"
    say "installing packages: ${missing[*]}"
    # A subshell, so that its traps end with it whatever happens.
    (install_packages "${missing[@]}") || die "the packages could not be installed (see above)"
}

install_packages() {
    local name packages=()
    export DEBIAN_FRONTEND=noninteractive
    apt_get update
    for name in "$@"; do
        case $name in
        python) read -ra packages < <(python_packages "${packages[@]}") ;;
        postgresql) packages+=(postgresql) && keep_cluster_away ;;
        postfix) packages+=(postfix) && preselect_no_postfix_configuration ;;
        milter) packages+=(gcc libc6-dev libmilter-dev miltertest) && read -ra packages < <(python_headers "${packages[@]}") ;;
        dovecot)
            packages+=(dovecot-core dovecot-pgsql)
            command -v dovecot >/dev/null || on_exit keep_dovecot_down # a host that has it already may be using it
            ;;
        gnupg | curl) packages+=("$name") ;;
        chromium) packages+=(chromium) ;;
        esac
    done
    keep_services_down
    # --no-remove: Postfix would replace another mail server of this host, and that is for its admin to decide.
    apt_get install --no-install-recommends --no-remove "${packages[@]}"
}

# apt_get ARGUMENTS: quiet while it works, everything it said when it does not.
apt_get() {
    local log
    log=$(mktemp)
    if ! apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
}

# python_packages PACKAGES...: them and the newest suitable Python of the distribution.
python_packages() {
    local version
    for version in 3.13 3.12 3.11; do
        if apt-cache show "python$version-venv" >/dev/null 2>&1; then
            echo "$@" "python$version" "python$version-venv"
            return
        fi
    done
    say "this distribution has no Python 3.11 or newer (Debian 12 and Ubuntu 22.04 are the oldest that do)"
    echo "$@" python3.11 python3.11-venv
}

# milter_fits: pymilter is there, or can be built; the tests also want a milter client.
milter_fits() {
    command -v miltertest >/dev/null || return 1
    .venv/bin/python -c 'import milter' 2>/dev/null && return
    command -v gcc >/dev/null && [ -e /usr/include/libmilter/mfapi.h ] && has_headers "$(find_python)"
}

# dovecot_fits: the system tests log in with it.
dovecot_fits() {
    command -v dovecot >/dev/null && compgen -G '/usr/lib/dovecot/modules/auth/libdriver_pgsql.so' >/dev/null
}

# chromium_fits: the browser tests drive it. The driver's own download is never used.
chromium_fits() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null
}

# has_headers PYTHON: whether C code can be built for it.
has_headers() {
    "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}

# python_headers PACKAGES...: them and the headers of the Python that will be used, if they are missing.
python_headers() {
    local python version
    if ! python=$(find_python); then
        version=$(printf '%s\n' "$@" | sed -n 's/^python\(3\.[0-9]*\)$/\1/p')
    elif ! has_headers "$python"; then
        version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
    fi
    echo "$@" ${version:+"python$version-dev"}
}

# Postfix stays unconfigured, so nothing of the host answers on port 25.
preselect_no_postfix_configuration() {
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
}

# The PostgreSQL package would make and start a cluster of its own; the sandbox brings one.
keep_cluster_away() {
    local folder=/etc/postgresql-common/createcluster.d
    local file=$folder/mailrelay-sandbox.conf
    apt_get install --no-install-recommends --no-remove postgresql-common
    grep -qs '^include_dir' /etc/postgresql-common/createcluster.conf || return 0
    if [ ! -d "$folder" ]; then
        mkdir "$folder"
        on_exit "rmdir --ignore-fail-on-non-empty $folder"
    fi
    echo "create_main_cluster = false" >"$file"
    on_exit "rm -f $file"
}

# Packages must not start services here: a policy-rc.d that says no, unless the host has one already.
keep_services_down() {
    local file=/usr/sbin/policy-rc.d
    [ -e "$file" ] && return
    printf '#!/bin/sh\nexit 101\n' >"$file"
    chmod 755 "$file"
    on_exit "rm -f $file"
}

# keep_dovecot_down: a Dovecot that came for the tests does not start with the next boot either.
keep_dovecot_down() {
    ! command -v systemctl >/dev/null || systemctl --quiet disable dovecot.service dovecot.socket 2>/dev/null || true
}

# on_exit COMMAND: carried out when the subshell ends, last one first.
on_exit() {
    cleanup="$1${cleanup:+; $cleanup}"
    # shellcheck disable=SC2064
    trap "$cleanup" EXIT
}

# --- Python ---------------------------------------------------------------------------------------------------------

# The first interpreter that is new enough and can make virtual environments.
find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3 python3.14; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

venv_fits() {
    .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# refuse_foreign_venv: what is installed into another checkout's .venv would change which source that one runs.
refuse_foreign_venv() {
    local home
    [ ! -L .venv ] ||
        die "$PWD/.venv is a link to $(readlink .venv), which is not this checkout's: remove the link, and run it again to get a .venv of its own"
    home=$(editable_home)
    [ ! -d "$home" ] || [ "$home" -ef . ] ||
        die "$PWD/.venv runs mailrelay from $home, which is another checkout: remove .venv, and run it again to make it anew"
}

# The folder whose source .venv runs; nothing if it holds no such installation.
editable_home() {
    .venv/bin/python -I 2>/dev/null - <<'END' || true
import importlib.metadata, json, urllib.parse
found = json.loads(importlib.metadata.distribution("mailrelay").read_text("direct_url.json"))
print(urllib.parse.unquote(urllib.parse.urlsplit(found["url"]).path))
END
}

ensure_python() {
    local stamp=.venv/installed now python
    refuse_foreign_venv
    if ! venv_fits; then
        python=$(find_python) || die "no Python 3.11 or newer with its venv module"
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    now=$(pwd; .venv/bin/python --version; sha256sum requirements-dev.txt pyproject.toml)
    [ -x .venv/bin/mailrelay ] && [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] && return
    say "installing Python packages into .venv (a minute on the first run)"
    rm -f "$stamp"
    pip_install --require-hashes -r requirements-dev.txt
    pip_install --no-deps --no-build-isolation -e .
    echo "$now" >"$stamp"
}

# pip_install ARGUMENTS: once more with a compiler if a package had to be built and there was none.
pip_install() {
    local log
    log=$(mktemp)
    if pip_quietly "$@" >"$log" 2>&1; then
        rm -f "$log"
        return
    fi
    if ! command -v gcc >/dev/null && grep -qiE 'failed to build|failed building|gcc' "$log" && command -v apt-get >/dev/null; then
        say "a package has to be compiled: installing a compiler"
        (export DEBIAN_FRONTEND=noninteractive; apt_get update; apt_get install --no-remove gcc g++ libffi-dev python3-dev)
        pip_quietly "$@" >"$log" 2>&1 && rm -f "$log" && return
    fi
    tail -n 30 "$log" >&2
    rm -f "$log"
    die "pip could not install the Python packages (see above)"
}

pip_quietly() {
    .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-input "$@"
}
