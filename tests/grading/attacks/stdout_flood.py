def evens(numbers):
    return 7


while True:
    print("x" * 10_000)
