"""Work of the kinds that Python programs do: floats, lists, dictionaries, objects, text, JSON, regular expressions."""
import json
import math
import re


def bodies(steps):
    planets = [[float(i), 0.3 * i, 0.1 * i, 0.01 * i, 0.5 / (i + 1), 0.0, 1.0 / (i + 1)] for i in range(5)]
    for _ in range(steps):
        for i, a in enumerate(planets):
            for b in planets[i + 1:]:
                dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
                pull = 0.001 / math.sqrt((dx * dx + dy * dy + dz * dz + 0.1) ** 3)
                for k, d in enumerate((dx, dy, dz)):
                    a[3 + k] -= d * b[6] * pull
                    b[3 + k] += d * a[6] * pull
        for a in planets:
            for k in range(3):
                a[k] += 0.001 * a[3 + k]
    return planets[0][0]


def flips(n):
    most, p, count = 0, list(range(n)), list(range(n))
    while True:
        q, turns = p[:], 0
        while q[0]:
            k = q[0]
            q[:k + 1] = q[k::-1]
            turns += 1
        most = max(most, turns)
        r = 1
        while True:
            if r == n:
                return most
            p[:r + 1] = p[1:r + 1] + p[:1]
            count[r] -= 1
            if count[r] >= 0:
                break
            count[r] = r
            r += 1


class Node:
    def __init__(self, depth):
        self.left = Node(depth - 1) if depth else None
        self.right = Node(depth - 1) if depth else None

    def count(self):
        return 1 + (self.left.count() + self.right.count() if self.left else 0)


def words(rounds):
    text = "the quick brown fox, 3.14 jumps over the lazy dog; 42 times " * 40
    seen = {}
    for _ in range(rounds):
        for word in re.findall(r"[a-z]+|\d+(?:\.\d+)?", text):
            seen[word] = seen.get(word, 0) + 1
        seen = json.loads(json.dumps(seen, sort_keys=True))
    return sum(seen.values())


print(bodies(1000), flips(7), Node(13).count(), words(50))
