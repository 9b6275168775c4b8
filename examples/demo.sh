#!/bin/sh
# The demonstration: one night's story with real processes, then what the kit makes of a spec. Nothing leaves this folder.
set -eu
spec=examples/single-host.yml
out=build/demo

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }

say python examples/demo.py
python examples/demo.py
say restante validate $spec
restante validate $spec
say restante render $spec --out $out
restante render $spec --out $out
cat <<END

The same on hosts: $out/hosts/... is what each host gets, byte for byte; restante explain $spec says why.
Next, with root on Debian or Ubuntu (make test-lab installs what a lab needs):
  .venv/bin/restante lab up $spec && .venv/bin/restante deploy $spec --lab && .venv/bin/restante verify $spec --lab
What breaks agents, shown on real hosts beside a naive stack, with a page to look at: make drill DRILL=--quick
Or stay here: .venv/bin/restante up, and docs/tutorial.md
END
