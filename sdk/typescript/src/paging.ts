/** Lists, which come in pages: the pages one by one, or all items over as many of them as it takes. */

/** Items of a list, how many there are in all, and the cursor of the next page (undefined = this is the last). */
export interface Page<T> {
  items: readonly T[];
  total: number;
  nextCursor: string | undefined;
}

/** Where the node says that a page lies. */
interface Pagination {
  total: number;
  nextCursor?: string | null;
}

/** A page from what a node answered. */
export function pageOf<T>(items: readonly T[], pagination?: Pagination): Page<T> {
  return { items, total: pagination?.total ?? items.length, nextCursor: pagination?.nextCursor ?? undefined };
}

/** A list, asked for as it is read: `for await (const job of client.jobs.list())`. */
export class Pages<T> implements AsyncIterable<T> {
  readonly #page: (cursor?: string) => Promise<Page<T>>;

  constructor(page: (cursor?: string) => Promise<Page<T>>) {
    this.#page = page;
  }

  /** One page: the first, or the one behind a `nextCursor`. */
  page(cursor?: string): Promise<Page<T>> {
    return this.#page(cursor);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    let cursor: string | undefined;
    do {
      const page = await this.#page(cursor);
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }
}
