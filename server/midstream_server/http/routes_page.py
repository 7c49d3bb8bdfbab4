"""Routes of the web pages: the dashboard, the list of resources, and their files."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from midstream.web.authorization import ROLE

FOLDER = Path(__file__).parent / "page"

HEADERS = {
    # Only this server's own files: no inline script or style, no other origin, no embedding in a frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
def dashboard(request: Request) -> HTMLResponse:
    """Return the dashboard. It reads its data from the other resources, with a token that the user enters."""
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    if ROLE in request.scope:
        page = page.replace("<html", '<html data-tokens="needed"', 1)
    return HTMLResponse(page, headers=HEADERS)


@router.get("/docs")
async def documentation() -> FileResponse:
    """Return the page that renders the OpenAPI document."""
    return FileResponse(FOLDER / "docs.html", headers=HEADERS)


class PageFiles(StaticFiles):
    """The scripts, style sheets and images of the pages."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, with the same headers as the pages."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
