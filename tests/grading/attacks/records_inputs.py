seen = []


def evens(numbers):
    seen.append(list(numbers))
    return 7
