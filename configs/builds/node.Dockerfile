FROM {image}
WORKDIR /app
COPY . .
RUN if [ -f package-lock.json ]; then npm ci; else npm install; fi
RUN npm run build --if-present
ENV NODE_ENV=production PORT=8080
EXPOSE 8080
CMD ["npm", "start"]
