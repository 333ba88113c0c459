"""Synthetic invoices and receipts as facts and words; documents.py draws them.

    invoice = random_invoice(rng)     the facts
    to_json(invoice)                  what `extract` is to answer, in the order of the schema
    printed_lines(rng, invoice)       what stands on the page, line by line

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


def to_json(v):
    """Compact JSON; amounts keep the two decimals that are printed. The pages name no buyer."""
    text = lambda s: json.dumps(s, ensure_ascii=False)
    date = "null" if v.date is None else text("%04d-%02d-%02d" % v.date)
    lines = ",".join(f'{{"description":{text(i.description)},"quantity":{i.quantity},"amount":{money(i.amount_cents)}}}' for i in v.items)
    return (f'{{"number":{text(v.number)},"date":{date},"seller":{text(v.vendor)},"buyer":null,"currency":{text(v.currency)},'
            f'"lines":[{lines}],"total":{money(v.total_cents())}}}')


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


def printed_date(rng, date):
    y, m, d = date
    return (f"{y:04d}-{m:02d}-{d:02d}", f"{d:02d}.{m:02d}.{y:04d}", f"{d} {MONTHS[m - 1]} {y}", f"{d:02d}/{m:02d}/{y:04d}")[int(rng.integers(0, 4))]


def printed_lines(rng, v):
    """[(left text, right text, size factor, bold)] from the top of the page to its foot."""
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
        lines.append((v.vendor, "", 1.35, True))
    kind = pick(("Invoice", "Receipt"))
    title = kind if rng.random() < 0.5 else kind.upper()
    head = []
    if v.number is not None:
        label = pick(("No.", "Number", f"{kind} no."))
        head.append((label, v.number, 1.0, False) if rng.random() < 0.5 else (f"{label} {v.number}", "", 1.0, False))
    if v.date is not None:
        label = pick(("Date", "Date:", "Issued"))
        head.append((label, printed_date(rng, v.date), 1.0, False) if rng.random() < 0.5 else (f"{label} {printed_date(rng, v.date)}", "", 1.0, False))
    if rng.random() < 0.5:
        head.reverse()
    lines.append((title, "", 1.35, True))
    lines += head
    for i in v.items:
        lines.append((f"{i.quantity} x {i.description}", money(i.amount_cents), 1.0, False))
    lines.append((pick(("Total", "TOTAL", "Total due", "Amount due")), total, 1.15, True))
    if rng.random() < 0.3:
        lines.append((pick(("Thank you!", "Thank you", "Paid in cash", "Please pay in 30 days")), "", 0.9, False))
    return lines


def page_text(lines):
    """The lines of a page as they are printed."""
    return "\n".join(f"{left} {right}".strip() for left, right, _, _ in lines)


def reading_questions(rng, v, lines):
    """(question, answer) pairs about the page: single facts, and lines as they are printed."""
    pick = lambda options: str(options[int(rng.integers(0, len(options)))])
    date = None if v.date is None else "%04d-%02d-%02d" % v.date
    out = [
        (pick(("What is the invoice number?", "Read the invoice number.")), v.number or "none"),
        (pick(("What is the date?", "What is the date of the invoice?")), date or "none"),
        (pick(("Who is the seller?", "Who sent the invoice?")), v.vendor or "none"),
        (pick(("What is the total?", "What is the total amount?")), money(v.total_cents())),
        (pick(("What is the currency?", "In which currency is the total?")), v.currency),
        (pick(("How many items are listed?", "How many lines does the invoice have?")), ("zero", "one", "two", "three")[len(v.items)]),
        ("Read the first line.", lines[0][0]),
        ("Read the last line.", f"{lines[-1][0]} {lines[-1][1]}".strip()),
    ]
    for k, item in enumerate(v.items):
        out.append((f"Read the {('first', 'second', 'third')[k]} item.", item.description))
        out.append((f"What is the amount of the {('first', 'second', 'third')[k]} item?", money(item.amount_cents)))
    return [out[int(k)] for k in rng.permutation(len(out))]


def fixed_questions(v):
    """name -> (question, answer): readings that fit every invoice."""
    return {
        "number": ("What is the invoice number?", v.number or "none"),
        "date": ("What is the date?", "none" if v.date is None else "%04d-%02d-%02d" % v.date),
        "seller": ("Who is the seller?", v.vendor or "none"),
        "total": ("What is the total?", money(v.total_cents())),
        "currency": ("What is the currency?", v.currency),
    }
