#!/usr/bin/env python3
"""Classes of known attacks, as `cordon backtest --labels` reads them, from the two incident lists of DeFiHackLabs.

In: a folder with `defihacklabs_explorer_912.json` (name, date, type) and `defihacklabs_parsed_890.csv` (file, transactions).
Out: lines `transaction hash,class`. An incident is the same in both where its month is, and its name is or begins with the other's.
The lists have over sixty words for types; they are put into nine groups.
"""

import json
import re
import sys
from pathlib import Path

GROUPS = [
    ("re-entrancy", "reentran"),
    ("access control and validation", "access|valid|arbitrary|signature|verification|initial"),
    ("price and oracle", "price|oracle|slippage|flash loan"),
    ("rounding, inflation, overflow", "precision|inflation|overflow|rounding|share"),
    ("keys", "key|wallet|social|phish"),
    ("governance", "govern"),
    ("bridge", "bridge"),
    ("mechanics of tokens", "token|dividend|burn|deflation"),
]
PLACE = re.compile(r"src/test/(\d{4})-(\d{2})/(.+?)(_exp|_exploit)?(\.t)?\.sol")
# The shortest name that may begin another one: three letters begin too many.
NAME_MIN = 5


def group(kind):
    return next((name for name, words in GROUPS if re.search(words, kind.lower())), "logic and other")


def plain(text):
    return re.sub("[^a-z0-9]", "", text.lower())


def same(one, other):
    begins = one.startswith(other) or other.startswith(one)
    return one == other or (begins and min(len(one), len(other)) >= NAME_MIN)


def main(folder):
    known = {}
    for incident in json.loads((folder / "defihacklabs_explorer_912.json").read_text()):
        known.setdefault(incident["date"][:6], []).append((plain(incident["name"]), incident["type"]))
    print("tx,class")
    for line in (folder / "defihacklabs_parsed_890.csv").read_text().splitlines():
        place = PLACE.match(line)
        if not place:
            continue
        name, month = plain(place[3]), place[1] + place[2]
        kind = next((kind for other, kind in known.get(month, []) if same(name, other)), None)
        for tx in re.findall("0x[0-9a-fA-F]{64}", line):
            if kind:
                print(f"{tx},{group(kind)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: labels.py FOLDER")
    main(Path(sys.argv[1]))
