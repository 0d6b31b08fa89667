"""Write the OpenAPI description: `python -m app > docs/openapi.json`."""

import sys

from app.application import create_app
from app.http.openapi import text

if __name__ == "__main__":
    sys.stdout.write(text(create_app()))
