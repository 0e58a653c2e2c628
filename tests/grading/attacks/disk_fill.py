try:
    for n in range(100):
        with open(f"fill{n}", "wb") as stream:
            stream.write(bytes(64 * 2**20))
except OSError as error:
    print(error)


def evens(numbers):
    return 7
