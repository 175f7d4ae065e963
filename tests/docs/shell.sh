# Read before every shell block of the documentation: what differs between a reader's terminal and a test.

# A worker would run until ^C: here it ends when nothing runnable is left.
pgjobs() {
    case " $* " in
        *" --drain "* | *" --help "* | *" -h "*) ;;
        *" worker "*) set -- "$@" --drain ;;
    esac
    command pgjobs "$@"
}

# Everything that a page asks for must be installed already: nothing is downloaded.
pip() { command pip "$1" --quiet --disable-pip-version-check --no-index --no-deps "${@:2}"; }

# A web server runs on while the page goes on, on a port of the test's own.
uvicorn() {
    command uvicorn "$@" --port "$PAGE_PORT" >>page.log 2>&1 &
    echo $! >>page.pids
    until curl --silent --output /dev/null "http://127.0.0.1:$PAGE_PORT/"; do
        kill -0 $! || { cat page.log >&2; return 1; }
        sleep 0.05 # a foreign program: there is nothing to wait on
    done
}
