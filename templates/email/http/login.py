
def _request(method: str, path: str, **options: Any) -> requests.Response:
    """Return the answer to a request for a path below the API's URL."""
    url = urljoin(f"{_api_url()}/", path)
    try:
        return requests.request(method, url, timeout=TIMEOUT, allow_redirects=False, **options)
    except (OSError, ValueError) as exc:
        # The library's own words are left out (from None): they may quote the login.
        raise TemporaryDeliveryError(
            f"{_where()} does not answer ({type(exc).__name__}): is it out of order, or "
            "{{ cookiecutter.email_provider|upper }}_API_URL wrong?"
        ) from None


def _expect(statuses: set[HTTPStatus], response: requests.Response) -> None:
    if response.status_code not in statuses:
        raise TemporaryDeliveryError(
            f"{_where()} answered {response.status_code}: is it out of order, or "
            "{{ cookiecutter.email_provider|upper }}_API_URL wrong?"
        )


def _api_url() -> str:
    return str(settings.ANYMAIL["{{ cookiecutter.email_provider|upper }}_API_URL"]).rstrip("/")


def _where() -> str:
    host = urlsplit(_api_url()).hostname or "an address without a host"
    return f"{{ cookiecutter.__email_name }} at {host}"
