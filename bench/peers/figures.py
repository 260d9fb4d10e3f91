"""From samples to medians, intervals and tables."""

import random
import statistics

RESAMPLES = 4000


def quantile(values, q):
    """Linear between order statistics."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def speed_ratio(ours, theirs, speed_quantile=0.5):
    """How many times as fast as `theirs`: of the quantiles of speed, which are those of time the other way round."""
    return quantile(theirs, 1 - speed_quantile) / quantile(ours, 1 - speed_quantile)


def interval(ours, theirs, speed_quantile=0.5):
    """95 % percentile bootstrap of speed_ratio; whole rounds are drawn, as what disturbs one disturbs all in it."""
    draw, count, ratios = random.Random(1), len(ours), []
    for _ in range(RESAMPLES):
        rounds = [draw.randrange(count) for _ in range(count)]
        ratios.append(speed_ratio([ours[i] for i in rounds], [theirs[i] for i in rounds], speed_quantile))
    return quantile(ratios, 0.025), quantile(ratios, 0.975)


def compare(ours, theirs, speed_quantile=0.5):
    low, high = interval(ours, theirs, speed_quantile)
    return {"ratio": speed_ratio(ours, theirs, speed_quantile), "low": low, "high": high,
            "paired": statistics.median(b / a for a, b in zip(ours, theirs))}


def summary(seconds, tokens):
    return {"median_s": statistics.median(seconds), "quartile_1_s": quantile(seconds, 0.25),
            "quartile_3_s": quantile(seconds, 0.75), "best_s": min(seconds),
            "median_tokens_per_s": tokens / statistics.median(seconds)}


def verdict(entry, goal):
    if entry["low"] >= goal:
        return "met"
    return "within the interval" if entry["high"] >= goal else "not met"


def busy_words(machine, probe_s):
    """What makes this measurement doubtful, or an empty text."""
    words = []
    if machine["cores_of_others"] > 0.1:
        words.append(f"other programs used {machine['cores_of_others']:.2f} cores")
    if machine["steal"] > 0.01:
        words.append(f"the host took {100 * machine['steal']:.1f} % of the time")
    spread = quantile(probe_s, 0.9) / quantile(probe_s, 0.1)
    if spread > 1.25:
        words.append(f"the read probe varied by {spread:.2f} from its 10th to its 90th percentile")
    return "; ".join(words)


def table(result):
    """Lines for a terminal."""
    tokens, lines = result["tokens"], []
    lines.append(f"{result['case']}: {result['about']}")
    lines.append(f"  {result['machine']['processor']}, {result['threads']} threads, {result['date']}, "
                 f"{len(result['samples_us']['junto'])} rounds")
    for name, one in result["summary"].items():
        rate = f"{one['median_tokens_per_s']:8.2f} tok/s" if name != "read probe" else \
            f"{statistics.median(result['probe_bytes']) / one['median_s'] / 1e9:8.2f} GB/s "
        lines.append(f"  {name:18s} {1e3 * one['median_s']:9.2f} ms  (quartiles {1e3 * one['quartile_1_s']:.2f} to "
                     f"{1e3 * one['quartile_3_s']:.2f}, best {1e3 * one['best_s']:.2f})  {rate}  "
                     f"{result['flags'].get(name, '')}")
    for goal in result["ratios"]:
        words = f"  junto / {goal['against']:16s}{' at the upper quartile' if goal['quantile'] != 0.5 else ''} " \
                f"{goal['ratio']:.3f}  (95 %: {goal['low']:.3f} to {goal['high']:.3f})"
        lines.append(words + (f"  goal {goal['goal']:.2f}: {verdict(goal, goal['goal'])}" if goal["goal"] else ""))
    agreement = ", ".join(f"{name} {100 * share:.0f} %" for name, share in result["same_likeliest_token"].items())
    if agreement:
        lines.append(f"  same likeliest token as junto: {agreement}")
    lines.append("  the machine was " + (f"busy: {result['busy']}" if result["busy"] else "quiet"))
    return "\n".join(lines)
