"""The statuses that each resource documents."""

# What the other tests of the server see, beside the success.
STATUSES: dict[tuple[str, str], set[int]] = {
    ("get", "/health/live"): {200},
    ("get", "/health/ready"): {200, 503},
    ("get", "/metrics"): {200},
    ("get", "/v1/role"): {200},
    ("get", "/v1/events"): {200},
    ("get", "/v1/games"): {200},
    ("post", "/v1/games"): {201, 400, 409, 422},
    ("get", "/v1/runs"): {200},
    ("post", "/v1/runs"): {201, 400, 409, 422},
    ("get", "/v1/runs/{run}"): {200, 404},
    ("post", "/v1/runs/{run}/pause"): {200, 404, 409},
    ("post", "/v1/runs/{run}/resume"): {200, 404, 409},
    ("post", "/v1/runs/{run}/stop"): {200, 404, 409},
    ("post", "/v1/runs/{run}/checkpoint"): {200, 404},
    ("put", "/v1/runs/{run}/batches/{seq}"): {200, 400, 403, 404, 409, 413, 415, 422, 500, 503},
    ("get", "/v1/runs/{run}/model"): {200, 403, 404},
    ("get", "/v1/runs/{run}/parameters"): {200, 304, 403, 404, 410, 422},
    ("get", "/v1/runs/{run}/validation"): {200, 404},
    ("get", "/v1/runs/{run}/validation-gradient/{version}"): {200, 403, 404, 410, 422},
    ("get", "/v1/runs/{run}/optimizer/{version}"): {200, 403, 404, 410, 422},
    ("get", "/v1/runs/{run}/metrics"): {200, 304, 404, 422},
    ("get", "/v1/runs/{run}/events"): {200, 404, 422},
    ("get", "/v1/runs/{run}/samples/{seq}"): {200, 404, 422},
    ("get", "/v1/runs/{run}/samples/{seq}/predictions"): {200, 404, 422},
}
