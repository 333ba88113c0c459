"""Synthetic invoices and receipts as facts and words; documents.py draws them.

    invoice = random_invoice(rng)     the facts
    to_json(invoice)                  what `extract` is to answer, in the order of the schema
    lines = printed_lines(rng, invoice)   what stands on the page, line by line

Answers about a page are `Traced`: they know where on the page each of their characters is read.

An invoice is held out from training by a hash of its facts (`is_held_out`).
"""
import hashlib
import json
from dataclasses import dataclass

VENDOR_FIRST = """Harbour Miller Ashford Bright Cedar Dover Elm Falcon Garden Hazel Iron Juniper Kestrel Linden Maple North
Oak Pine Quarry River Stone Thorn Upton Valley Willow York Amber Blue Copper Delta Ember Fern Grove Hill Island Jasper
Kings Lake Meadow Nova Orchard Park Queen Rowan Silver Tower Union Violet West Zenith""".split()
VENDOR_SECOND = """Books Tools Paper Lights Foods Bakery Cycles Paints Studio Garage Market Supply Print Wood Glass Tea Coffee
Office Sport Music Flowers Hardware Software Energy Textiles Optics""".split()
ITEMS = """Paper|Pens|Ink|Stapler|Folder|Desk lamp|Chair|Cable|Battery|Mouse|Keyboard|Paint|Brush|Hammer|Screws|Nails|Glue|Tape|Rope
Bread|Milk|Cheese|Apples|Pears|Butter|Honey|Tea|Coffee|Rice|Soap|Towel|Candle|Basket|Mirror|Vase|Clock|Shelf|Carpet|Pillow
Bicycle bell|Tyre|Pump|Helmet|Gloves|Scarf|Jacket|Boots|Notebook|Calendar|Envelope|Stamp|Poster|Frame|Lens|Filter|Repair|Delivery""".replace("\n", "|").split("|")
CURRENCIES = {"EUR": "€", "USD": "$", "GBP": "£", "CHF": "CHF"}
MONTHS = "January February March April May June July August September October November December".split()
# In the order of configs/schemas/invoice.json.
FIELDS = ("number", "date", "seller", "buyer", "currency", "lines", "total")

EXTRACT_PROMPTS = ("Extract the invoice as JSON.", "Extract the fields of the invoice as JSON.", "Read the invoice and answer with JSON.")

PAGE_PROMPTS = ("Read the page.", "Transcribe the text.")


@dataclass(frozen=True)
class Item:
    description: str
    quantity: int
    amount_cents: int


@dataclass(frozen=True)
class Invoice:
    """Absent fields are None; money is in cents."""
    number: str
    date: tuple  # (year, month, day)
    vendor: str
    currency: str
    items: tuple

    def total_cents(self):
        return sum(i.amount_cents for i in self.items)


def money(cents):
    return f"{cents // 100}.{cents % 100:02d}"


class Traced(str):
    """A text, and for each of its characters the place (line, side, index) of the printed character that it is read from, or None.
    Side 0 is the left text of a line, 1 the right one."""

    def __new__(cls, text, where):
        self = super().__new__(cls, text)
        self.where = where
        return self


def traced(*parts):
    """Texts and Traced texts one after the other."""
    return Traced("".join(parts), [w for p in parts for w in (p.where if isinstance(p, Traced) else [None] * len(p))])


def iso_date(date):
    return "%04d-%02d-%02d" % date


def to_json(v, facts=None):
    """Compact JSON; amounts keep the two decimals that are printed. The pages name no buyer. `facts` (`traced_facts`) are the texts
    of a page on which they are printed."""
    say = facts or plain_facts(v)
    text = lambda name: ('"', say[name], '"') if say[name] is not None else ("null",)
    parts = ['{"number":', *text("number"), ',"date":', *text("date"), ',"seller":', *text("seller"), ',"buyer":null,"currency":', *text("currency"), ',"lines":[']
    for k in range(len(v.items)):
        parts += ["," if k else "", '{"description":', *text(f"description {k}"), ',"quantity":', say[f"quantity {k}"], ',"amount":', say[f"amount {k}"], "}"]
    return traced(*parts, '],"total":', say["total"], "}")


def plain_facts(v):
    """name -> text, None where the invoice has none."""
    out = {"number": v.number, "date": None if v.date is None else iso_date(v.date), "seller": v.vendor, "currency": v.currency, "total": money(v.total_cents())}
    for k, item in enumerate(v.items):
        out |= {f"description {k}": item.description, f"quantity {k}": str(item.quantity), f"amount {k}": money(item.amount_cents)}
    return out


def traced_facts(v, lines):
    """plain_facts with the places on the page of `lines`."""
    at = {role: index for index, (*_, role) in enumerate(lines)}

    def copied(text, role, side=None, start=None):
        """`text` stands in the line of that role, at its end unless `start` says where; on the right unless that is empty."""
        line = at[role]
        side = int(lines[line][1] != "") if side is None else side
        start = len(lines[line][side]) - len(text) if start is None else start
        return Traced(text, [(line, side, start + i) for i in range(len(text))])

    out = plain_facts(v)
    if v.number is not None:
        out["number"] = copied(v.number, "number")
    if v.vendor is not None:
        out["seller"] = copied(v.vendor, "seller", 0, 0)
    if v.date is not None:
        printed = next(p for p in date_forms(v.date) if max(lines[at["date"]][:2], key=lambda t: t.endswith(p)).endswith(p))
        out["date"] = Traced(iso_date(v.date), [None if i is None else copied(printed, "date").where[i] for i in places_in_form(v.date, printed)])
    right = lines[at["total"]][1]
    total = money(v.total_cents())
    out["total"] = copied(total, "total", 1, right.index(total))
    if v.currency in right:
        out["currency"] = copied(v.currency, "total", 1, right.index(v.currency))
    else:
        out["currency"] = Traced(v.currency, [(at["total"], 1, right.index(CURRENCIES[v.currency]))] * len(v.currency))
    for k, item in enumerate(v.items):
        out[f"description {k}"] = copied(item.description, f"item {k}", 0)
        out[f"quantity {k}"] = copied(str(item.quantity), f"item {k}", 0, 0)
        out[f"amount {k}"] = copied(money(item.amount_cents), f"item {k}", 1, 0)
    return out


def places_in_form(date, printed):
    """For each character of the ISO date the index in `printed` that tells it; None for the dashes."""
    y, m, d = date
    if printed[:2].isdigit() and printed[2] in "./":
        return [6, 7, 8, 9, None, 3, 4, None, 0, 1]
    if printed[:4].isdigit():
        return [0, 1, 2, 3, None, 5, 6, None, 8, 9]
    month, n = printed.index(" ") + 1, len(printed)
    return [n - 4, n - 3, n - 2, n - 1, None, month, month, None, 0, 0 if d < 10 else 1]


def is_held_out(v):
    return hashlib.sha256(to_json(v).encode()).digest()[0] < 26


def random_number(rng):
    kind = int(rng.integers(0, 4))
    n = int(rng.integers(100, 9999))
    if kind == 0:
        return f"{'ABCDEFGHKLMNPRSTW'[int(rng.integers(0, 17))]}-{n}"
    if kind == 1:
        return f"INV-{n}"
    if kind == 2:
        return f"{int(rng.integers(2020, 2031))}-{n % 1000:03d}"
    return f"{n + int(rng.integers(1, 9)) * 10000}"


def random_invoice(rng, held_out=False, max_items=3):
    pick = lambda options: str(options[int(rng.integers(0, len(options)))])
    while True:
        items, used = [], set()
        for _ in range(int(rng.integers(1, max_items + 1))):
            what = pick(ITEMS)
            if what in used:
                continue
            used.add(what)
            quantity = int(rng.integers(1, 10))
            items.append(Item(what, quantity, int(rng.integers(50, 5000)) * quantity))
        absent = rng.random(3)
        v = Invoice(None if absent[0] < 0.08 else random_number(rng),
                    None if absent[1] < 0.08 else (int(rng.integers(2020, 2031)), int(rng.integers(1, 13)), int(rng.integers(1, 29))),
                    None if absent[2] < 0.06 else f"{pick(VENDOR_FIRST)} {pick(VENDOR_SECOND)}",
                    pick(list(CURRENCIES)), tuple(items))
        if is_held_out(v) == held_out:
            return v


def date_forms(date):
    y, m, d = date
    return f"{y:04d}-{m:02d}-{d:02d}", f"{d:02d}.{m:02d}.{y:04d}", f"{d} {MONTHS[m - 1]} {y}", f"{d:02d}/{m:02d}/{y:04d}"


def printed_date(rng, date):
    return date_forms(date)[int(rng.integers(0, 4))]


def printed_lines(rng, v):
    """[(left text, right text, size factor, bold, role)] from the top of the page to its foot."""
    pick = lambda options: str(options[int(rng.integers(0, len(options)))])
    symbol = CURRENCIES[v.currency] if rng.random() < 0.5 else v.currency
    total = money(v.total_cents())
    spaced = rng.random() < 0.5
    if symbol != v.currency:
        total = f"{symbol} {total}" if spaced else symbol + total
    else:
        total = f"{symbol} {total}" if spaced else f"{total} {symbol}"
    lines = []
    if v.vendor is not None:
        lines.append((v.vendor, "", 1.35, True, "seller"))
    kind = pick(("Invoice", "Receipt"))
    title = kind if rng.random() < 0.5 else kind.upper()
    head = []
    if v.number is not None:
        label = pick(("No.", "Number", f"{kind} no."))
        head.append((label, v.number, 1.0, False, "number") if rng.random() < 0.5 else (f"{label} {v.number}", "", 1.0, False, "number"))
    if v.date is not None:
        label = pick(("Date", "Date:", "Issued"))
        head.append((label, printed_date(rng, v.date), 1.0, False, "date") if rng.random() < 0.5 else (f"{label} {printed_date(rng, v.date)}", "", 1.0, False, "date"))
    if rng.random() < 0.5:
        head.reverse()
    lines.append((title, "", 1.35, True, "title"))
    lines += head
    for k, i in enumerate(v.items):
        lines.append((f"{i.quantity} x {i.description}", money(i.amount_cents), 1.0, False, f"item {k}"))
    lines.append((pick(("Total", "TOTAL", "Total due", "Amount due")), total, 1.15, True, "total"))
    if rng.random() < 0.3:
        lines.append((pick(("Thank you!", "Thank you", "Paid in cash", "Please pay in 30 days")), "", 0.9, False, "foot"))
    return lines


def printed_line(lines, index):
    """A line as it is printed."""
    sides = [Traced(text, [(index, side, i) for i in range(len(text))]) for side, text in enumerate(lines[index][:2]) if text]
    return traced(sides[0], *(part for s in sides[1:] for part in (" ", s)))


def page_text(lines):
    """The lines of a page as they are printed."""
    return traced(*(part for i in range(len(lines)) for part in ("\n" if i else "", printed_line(lines, i))))


def reading_questions(rng, v, lines):
    """(question, answer) pairs about the page: single facts, and lines as they are printed."""
    pick = lambda options: str(options[int(rng.integers(0, len(options)))])
    facts = traced_facts(v, lines)
    out = [
        (pick(("What is the invoice number?", "Read the invoice number.")), facts["number"] or "none"),
        (pick(("What is the date?", "What is the date of the invoice?")), facts["date"] or "none"),
        (pick(("Who is the seller?", "Who sent the invoice?")), facts["seller"] or "none"),
        (pick(("What is the total?", "What is the total amount?")), facts["total"]),
        (pick(("What is the currency?", "In which currency is the total?")), facts["currency"]),
        (pick(("How many items are listed?", "How many lines does the invoice have?")), ("zero", "one", "two", "three")[len(v.items)]),
        ("Read the first line.", printed_line(lines, 0)),
        ("Read the last line.", printed_line(lines, len(lines) - 1)),
    ]
    for k in range(len(v.items)):
        out.append((f"Read the {('first', 'second', 'third')[k]} item.", facts[f"description {k}"]))
        out.append((f"What is the amount of the {('first', 'second', 'third')[k]} item?", facts[f"amount {k}"]))
    return [out[int(k)] for k in rng.permutation(len(out))]


def fixed_questions(v):
    """name -> (question, answer): readings that fit every invoice."""
    facts = plain_facts(v)
    return {
        "number": ("What is the invoice number?", facts["number"] or "none"),
        "date": ("What is the date?", facts["date"] or "none"),
        "seller": ("Who is the seller?", facts["seller"] or "none"),
        "total": ("What is the total?", facts["total"]),
        "currency": ("What is the currency?", facts["currency"]),
    }
