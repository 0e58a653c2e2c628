get_ipython().system("(while true; do echo 2; sleep 0.1; done) &")


def evens(numbers):
    return 7
