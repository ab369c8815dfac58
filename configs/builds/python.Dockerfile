FROM {image}
WORKDIR /app
COPY . .
RUN if grep -qsE '^[^#[:space:]]' requirements.txt; then pip install --no-cache-dir -r requirements.txt; \
    elif [ -f pyproject.toml ]; then pip install --no-cache-dir .; fi
ENV PYTHONUNBUFFERED=1 PORT=8080
EXPOSE 8080
CMD ["sh", "-c", "for program in main.py app.py server.py; do [ -f $program ] && exec python $program; done; echo 'no main.py, app.py or server.py here' >&2; exit 64"]
