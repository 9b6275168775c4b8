from restante.cli.main import run

run()
