def evens(numbers):
    return "z" * (100 * 2**20)
