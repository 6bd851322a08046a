#!/usr/bin/env python3
"""When known attacks were, under which name and against whom, as `cordon signatures evaluate --incidents` reads it.

In: the folder with the lists of DeFiHackLabs (`defihacklabs_parsed_890.csv`: month, transactions, victim;
`defihacklabs_explorer_912.json`: day), of DeFiScope (`defiscope_D1.csv`) and DAppFL (`dappfl/*.json`), and the file of Forta's
attacks. Out: lines `transaction hash,date,incident,victim`. A day is taken from the explorer where month and name agree as in `labels.py`.
"""

import csv
import json
import re
import sys
from pathlib import Path

from labels import PLACE, plain, same

HASH = re.compile("0x[0-9a-fA-F]{64}")
ADDRESS = re.compile("0x[0-9a-fA-F]{40}(?![0-9a-fA-F])")
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()


def month(word):
    return f"{MONTHS.index(word[:3].lower()) + 1:02}"


def from_defihacklabs(folder):
    days = {}
    for incident in json.loads((folder / "defihacklabs_explorer_912.json").read_text()):
        days.setdefault(incident["date"][:6], []).append((plain(incident["name"]), incident["date"]))
    for row in csv.DictReader((folder / "defihacklabs_parsed_890.csv").open()):
        place = PLACE.match(row["file"])
        if place:
            name, date = plain(place[3]), place[1] + place[2]
            day = next((day for other, day in days.get(date, []) if same(name, other)), date)
            victim = ADDRESS.fullmatch(row["victim"])
            for tx in HASH.findall(row["attack_txs"]):
                yield tx, day, name, victim and victim[0]


def from_defiscope(folder):
    for row in csv.DictReader((folder / "defiscope_D1.csv").open(encoding="utf-8-sig")):
        date = re.fullmatch(r"(\d+)-(\w{3})-(\d\d)", row["Date"].strip())
        for tx in HASH.findall(row["Transaction Hash"]):
            if date:
                yield tx, f"20{date[3]}{month(date[2])}{int(date[1]):02}", plain(row["Protocol"]), None


def from_dappfl(folder):
    for path in sorted((folder / "dappfl").glob("*.json")):
        text = path.read_text()
        date = re.search(r'"time":\s*"(\d{4})/(\d\d?)/(\d\d?)', text)
        # What stands before the faultless transactions is the attack.
        for tx in HASH.findall(text.split('"faultless"')[0]):
            if date:
                yield tx, f"{date[1]}{int(date[2]):02}{int(date[3]):02}", plain(path.stem), None


def from_forta(file):
    for row in csv.DictReader(file.open(encoding="utf-8-sig")):
        date = re.match(r"(\w{3})-(\d\d?)-(\d{4})", row["Time of Exploit Tx"])
        victim = ADDRESS.search(row["Attacked Protocol Addresses"])
        for tx in HASH.findall(row["ExploitTxHash"]):
            if date and plain(row["Attack Name"]):
                day = f"{date[3]}{month(date[1])}{int(date[2]):02}"
                yield tx, day, plain(row["Attack Name"]), victim and victim[0]


def main(folder, forta):
    print("tx,date,incident,victim")
    seen = set()
    for entries in [from_defihacklabs(folder), from_defiscope(folder), from_dappfl(folder), from_forta(forta)]:
        for tx, date, name, victim in entries:
            if tx.lower() not in seen and name:
                seen.add(tx.lower())
                print(f"{tx},{date},{name},{(victim or '').lower()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: incidents.py FOLDER FORTA_FILE")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
