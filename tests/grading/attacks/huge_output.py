from IPython.display import display

display({"text/plain": "y" * (150 * 2**20)}, raw=True)


def evens(numbers):
    return 7
