"""The default application: `uvicorn crs_gym.envs.openenv.server.app:app`.

`crs-gym serve` has arguments.
"""

from crs_gym.envs.openenv.server.serving import make_app, serve

app = make_app()


def main() -> None:
    """Serves it to this machine on port 8000."""
    serve(app)


if __name__ == "__main__":
    main()
