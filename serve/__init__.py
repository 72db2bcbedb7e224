"""Online serving: Ray Serve deployments behind an HTTP API.

`app.build` puts the application together from its settings; `api` is HTTP and knows no Ray;
`deployments` is what runs where.
"""
