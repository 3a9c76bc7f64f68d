"""A request that is refused."""


class Problem(Exception):
  """A refusal: the status, and what the client reads about it.

  Attributes:
    status: the HTTP status.
    where: the part of the request, such as "lines[3]".
    problem: what is wrong with it.
    remedy: what the client can do about it, or "".
  """

  def __init__(self, status: int, where: str, problem: str, remedy: str = "") -> None:
    self.status = status
    self.where = where
    self.problem = problem
    self.remedy = remedy
    super().__init__(f"{status} {where}: {problem}; {remedy}")
