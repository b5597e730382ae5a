# shellcheck shell=bash
# Sourced by the other scripts: where things are kept and built, and whether that is possible here. One place for what is
# built, so that the demo's build of the dependencies serves the tests, the checks and other clones too.
#
#   ETL_CACHE            builds, servers and data of tests and benchmark (${XDG_CACHE_HOME:-~/.cache}/etl)
#   CARGO_TARGET_DIR     where cargo builds ($ETL_CACHE/target)
export ETL_CACHE=${ETL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/etl}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ETL_CACHE/target}
# Scripts change folders: a relative one would be two.
case $CARGO_TARGET_DIR in
  /*) ;;
  *) CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR ;;
esac

# rustup's folder is often not on the PATH of a shell that was open before rustup came.
if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
  PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
fi
if ! command -v cargo >/dev/null; then
  echo 'error: there is no cargo on PATH: install Rust from https://rustup.rs and run this again' >&2
  exit 2
fi
if ! command -v "${CC:-cc}" >/dev/null; then
  echo "error: there is no C compiler (${CC:-cc}), which SQLite, zstd and the TLS library are built with:" >&2
  echo '       Debian, Ubuntu: apt install build-essential    Fedora: dnf install gcc    macOS: xcode-select --install' >&2
  exit 2
fi
