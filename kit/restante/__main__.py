"""`python -m restante`, and the command's way in. A verb that needs the kit says so when it is called."""

from restante.cli.main import run

if __name__ == "__main__":
    run()
