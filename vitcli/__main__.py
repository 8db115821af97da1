"""`python -m vitcli` is `vit`."""

from vitcli.main import run

if __name__ == "__main__":
    run()
