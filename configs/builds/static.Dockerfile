FROM {image}
WORKDIR /site
COPY . .
EXPOSE 8080
CMD ["sh", "-c", "for folder in dist public .; do [ -f $folder/index.html ] && exec httpd -f -p 8080 -h $folder; done; exit 64"]
