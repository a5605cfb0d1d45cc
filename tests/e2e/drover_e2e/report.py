# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of the bench: medians, a table, JSON lines."""

import json
import statistics

FIELDS = ("total_s", "bytes", "downtime_ms", "answer_ms", "cpu_s", "rate_before", "rate_during", "throughput_ratio", "floor_s")


def one_line(row: dict) -> str:
    if not row["converged"]:
        return f"given up after {row['total_s']:.1f} s, {row['bytes'] / 1e6:.0f} MB"
    return (f"{row['total_s']:.2f} s, {row['bytes'] / 1e6:.0f} MB, downtime "
            f"{row['downtime_ms']:.1f} ms, answers in {row['answer_ms']:.1f} ms, {row['cpu_s']:.1f} s of processor, {row['rate_before']:.0f} → {row['rate_during']:.0f} "
            f"pages/s, {_shares(row['encodings'])}")


def _shares(encodings: dict[str, float]) -> str:
    return " ".join(f"{name} {share:.0f}%" for name, share in encodings.items() if share >= 0.5)


def median_row(rows: list[dict]) -> dict:
    """Medians over the runs that converged, or over all if none did."""
    good = [row for row in rows if row["converged"]]
    result = {"case": rows[0]["case"], "engine": rows[0]["engine"], "runs": len(rows),
              "converged": len(good) * 2 > len(rows)}
    result["encodings"] = {name: statistics.median(row["encodings"].get(name, 0) for row in good or rows)
                           for name in rows[0]["encodings"]}
    for name in FIELDS:
        values = [row[name] for row in good or rows if row[name] is not None]
        value = statistics.median(values) if values else None
        result[name] = value if value is None else round(value, 3) if name != "bytes" else int(value)
    return result


def print_json(results: list[dict]) -> None:
    for result in results:
        print(json.dumps(result))


def _cells(row: dict) -> list[str]:
    total = f"{row['total_s']:.2f} s" if row["converged"] else "never"
    downtime = "-" if row["downtime_ms"] is None else f"{row['downtime_ms']:.1f} ms"
    floor = f"{row['floor_s']:.2f} s" if row["floor_s"] else "-"
    return [row["case"], row["engine"], str(row["runs"]), total, floor, f"{row['bytes'] / 1e6:.0f} MB",
            downtime, f"{row['answer_ms']:.1f} ms", f"{row['cpu_s']:.1f} s", f"{row['rate_before']:.0f}", f"{row['rate_during']:.0f}", _shares(row["encodings"])]


def _ratio(ours: dict, others: list[dict], field: str) -> str:
    values = [row[field] for row in others if row["converged"] and row[field]]
    if not ours["converged"] or not values:
        return "-"
    return f"{ours[field] / min(values):.2f}"


def print_table(results: list[dict], link: str) -> None:
    heads = ["case", "engine", "runs", "total", "floor", "bytes", "downtime", "answer", "cpu", "pages/s before",
             "during", "encodings"]
    table = [heads] + [_cells(row) for row in results]
    widths = [max(len(line[i]) for line in table) for i in range(len(heads))]
    print(f"link: {link}; medians; floor: non-zero bytes ÷ link; answer: the longest wait for query-migrate\n")
    previous = None
    for line in table:
        if previous not in (None, line[0]):
            print()
        previous = line[0]
        print("  ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths))))
    if any(row["engine"] == "drover" for row in results):
        _print_ratios(results)


def _print_ratios(results: list[dict]) -> None:
    print("\nDrover ÷ the best of stock QEMU (below 1: Drover is better)")
    for case in dict.fromkeys(row["case"] for row in results):
        rows = [row for row in results if row["case"] == case]
        ours = [row for row in rows if row["engine"] == "drover"]
        others = [row for row in rows if row["engine"].startswith("qemu")]
        if ours and others:
            text = ", ".join(f"{field} {_ratio(ours[0], others, field)}"
                             for field in ("total_s", "bytes", "downtime_ms", "cpu_s"))
            print(f"  {case.ljust(14)} {text}")
