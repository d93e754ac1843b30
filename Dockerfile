FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8070 \
    DATA_DIR=/data

WORKDIR /app

COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock

COPY . .

RUN useradd --create-home --uid 10001 waddlebot \
    && install --directory --owner waddlebot --mode 0700 /data
USER waddlebot
VOLUME /data
EXPOSE 8070

# Liveness, not readiness: a database that is away must not get the container killed.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]

CMD ["python", "-m", "app"]
