"""Contenders as child processes that work only when told to, and rounds of them in turn."""

import contextlib
import fcntl
import os
import random
import subprocess
import sys
import time

SETTLE_S = 0.01  # between steps: threads that spin after a contender's step would slow the next one's


class Contender:
    def __init__(self, name, command, environment=None):
        self.name = name
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **(environment or {})})
        while not (line := self.answer()).startswith("ready "):  # libraries may talk while they load
            pass
        self.about = line.removeprefix("ready ").strip()
        self.likeliest = []

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with status {self.process.wait()}")
        return line

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer().split()

    def go(self, step):
        """Seconds of a step."""
        time.sleep(SETTLE_S)
        seconds, token = self.ask(f"go {step}")
        self.likeliest.append(int(token))
        return float(seconds)

    def probe(self):
        """(seconds, bytes) of a plain read of what the last step read."""
        time.sleep(SETTLE_S)
        seconds, count = self.ask("probe")
        return float(seconds), int(count)

    def processor_s(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Machine:
    """What others did on this machine meanwhile."""

    def __init__(self):
        self.start = self.read()
        self.load = [os.getloadavg()[0]]

    @staticmethod
    def read():
        ticks = [int(word) for word in open("/proc/stat").readline().split()[1:9]]
        user, nice, system, idle, waiting, irq, soft_irq, steal = ticks
        second = os.sysconf("SC_CLK_TCK")
        return {"busy_s": (user + nice + system + irq + soft_irq) / second, "steal_s": steal / second,
                "time_s": time.monotonic()}

    def report(self, own_processor_s):
        now, self.load = self.read(), self.load + [os.getloadavg()[0]]
        wall = max(1e-9, now["time_s"] - self.start["time_s"])
        others = max(0.0, now["busy_s"] - self.start["busy_s"] - own_processor_s) / wall
        return {"seconds": round(wall, 1), "load_before": self.load[0], "load_after": self.load[1],
                "cores_of_others": round(others, 3),
                "steal": round((now["steal_s"] - self.start["steal_s"]) / wall / os.cpu_count(), 4)}


@contextlib.contextmanager
def exclusive(lock):
    """Holds an exclusive lock on the file, so that measurements of one machine take turns."""
    if not lock:
        yield
        return
    with open(lock, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_rounds(contenders, rounds, lock, slice_s=40.0):
    """Every contender once a round, in changing order; the read probe after the first contender's step.
    -> ({name: [seconds]}, [bytes of the probe], Machine.report())."""
    samples = {contender.name: [] for contender in contenders}
    samples["read probe"], probe_bytes = [], []
    order, shuffle = list(contenders), random.Random(1)
    for contender in contenders:  # buffers are made, pages mapped
        contender.likeliest.clear()
        contender.go(0)
    own, machine = sum(c.processor_s() for c in contenders) + time.process_time(), Machine()
    step = 0
    while step < rounds:
        with exclusive(lock):
            end = time.monotonic() + slice_s
            while step < rounds and time.monotonic() < end:
                shuffle.shuffle(order)
                for contender in order:
                    samples[contender.name].append(contender.go(step + 1))
                    if contender is contenders[0]:
                        seconds, count = contender.probe()
                        samples["read probe"].append(seconds)
                        probe_bytes.append(count)
                step += 1
    own = sum(c.processor_s() for c in contenders) + time.process_time() - own
    return samples, probe_bytes, machine.report(own)
